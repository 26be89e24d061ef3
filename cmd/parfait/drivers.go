package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/gcs"
	"github.com/parfait-registry/parfait/drivers/gocloud"
	"github.com/parfait-registry/parfait/drivers/local"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/s3"
	"github.com/parfait-registry/parfait/drivers/swift"
)

// A backEnd is a driver that a flavor can choose with the key storage.
type backEnd struct {
	name   string
	config any // where the flavor's keys go, a pointer to a struct; nil if it has none

	// open and index are to be called when config is filled. index says where the index is if the flavor does not; "" is
	// a temporary one.
	open  func(ctx context.Context, log *slog.Logger) (drivers.Driver, error)
	index func() string
}

// newBackEnds lists all there are. This is the only place that does.
func newBackEnds() map[string]backEnd {
	return map[string]backEnd{
		"local":     onDisk(),
		"mem":       inMemory(),
		"s3":        onS3(),
		"gcs":       onGCS(),
		"swift":     onSwift(),
		"azureblob": onAzure(),
		"blob":      byURL(),
	}
}

func onDisk() backEnd {
	var cfg local.Config
	return backEnd{
		config: &cfg,
		open:   func(context.Context, *slog.Logger) (drivers.Driver, error) { return local.Open(cfg) },
		index:  func() string { return cfg.Path + "/parfait/index.db" },
	}
}

func inMemory() backEnd {
	return backEnd{
		open:  func(context.Context, *slog.Logger) (drivers.Driver, error) { return mem.New(), nil },
		index: func() string { return "" },
	}
}

func onS3() backEnd {
	cfg := s3.NewConfig()
	return backEnd{
		config: &cfg,
		open:   func(ctx context.Context, log *slog.Logger) (drivers.Driver, error) { return s3.Open(ctx, cfg, log) },
		index: func() string {
			return dataFile("s3", cfg.Endpoint, cfg.BotoHost, cfg.BotoPort, cfg.Bucket, cfg.BotoBucket, cfg.Path)
		},
	}
}

// onGCS goes by S3 with the interoperability keys of older flavors.
func onGCS() backEnd {
	cfg := gcs.NewConfig()
	return backEnd{
		config: &cfg,
		open: func(ctx context.Context, log *slog.Logger) (drivers.Driver, error) {
			if !cfg.Interoperable() {
				return gcs.Open(ctx, cfg, log)
			}
			how, err := cfg.Interop()
			if err != nil {
				return nil, err
			}
			like := s3.NewConfig()
			like.Endpoint, like.Region, like.Secure = how.Endpoint, how.Region, how.Secure
			like.Bucket, like.Path, like.Encrypt = how.Bucket, how.Path, "false" // Google encrypts all it has
			like.AccessKey, like.SecretKey = how.AccessKey, how.SecretKey
			like.PartSize, like.Buffers = how.PartSize, how.Buffers
			return s3.Open(ctx, like, log)
		},
		index: func() string { return dataFile("gcs", cfg.Endpoint, cfg.Bucket, cfg.BotoBucket, cfg.Path) },
	}
}

func onSwift() backEnd {
	cfg := swift.NewConfig()
	return backEnd{
		config: &cfg,
		open:   func(ctx context.Context, log *slog.Logger) (drivers.Driver, error) { return swift.Open(ctx, cfg, log) },
		index: func() string {
			return dataFile("swift", cfg.AuthURL, cfg.ObjectStorageURL, cfg.TenantName, cfg.TenantID, cfg.RegionName, cfg.User, cfg.Container, cfg.Path)
		},
	}
}

func onAzure() backEnd {
	cfg := gocloud.NewAzureConfig()
	return backEnd{
		config: &cfg,
		open: func(ctx context.Context, log *slog.Logger) (drivers.Driver, error) {
			return gocloud.OpenAzure(ctx, cfg, log)
		},
		index: func() string { return dataFile("azureblob", cfg.Endpoint, cfg.Account, cfg.Container, cfg.Path) },
	}
}

func byURL() backEnd {
	var cfg gocloud.URLConfig
	return backEnd{
		config: &cfg,
		open: func(ctx context.Context, log *slog.Logger) (drivers.Driver, error) {
			return gocloud.OpenURL(ctx, cfg, log)
		},
		index: func() string { return dataFile("blob", cfg.URL, cfg.Path) },
	}
}

// aliases are older names of back ends.
func aliases() map[string]string {
	return map[string]string{"file": "local", "filesystem": "local", "inmemory": "mem", "s3aws": "s3", "azure": "azureblob"}
}

// successors say what serves those who used a back end that is none any more.
func successors() map[string]string {
	return map[string]string{
		"glance":    "use swift or s3, whichever Glance itself stores in",
		"elliptics": "move the data to another back end",
		"oss":       "use s3, with the URL of OSS in s3_endpoint",
		"alioss":    "use s3, with the URL of OSS in s3_endpoint",
	}
}

// A goneError says that a back end is none any more, and what serves those who used it.
type goneError struct{ name, instead string }

func (e *goneError) Error() string {
	return fmt.Sprintf("storage: there is no back end %q any more: %s", e.name, e.instead)
}

var errNoStorage = errors.New("storage: the flavor names no back end")

// pick returns the back end called name.
func pick(ends map[string]backEnd, name string) (backEnd, error) {
	if canonical, ok := aliases()[name]; ok {
		name = canonical
	}
	if end, ok := ends[name]; ok {
		end.name = name
		return end, nil
	}
	if instead, ok := successors()[name]; ok {
		return backEnd{}, &goneError{name, instead}
	}
	known := strings.Join(slices.Sorted(maps.Keys(ends)), ", ")
	if name == "" {
		return backEnd{}, fmt.Errorf("%w; there are %s", errNoStorage, known)
	}
	return backEnd{}, fmt.Errorf("storage: this build has no back end %q; it has %s", name, known)
}
