package swift

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"slices"
)

// limits are what a cluster allows and offers.
type limits struct {
	manifest int  // most segments that a manifest names
	rows     int  // most rows in a page of a listing
	deletes  int  // most objects in one request to delete them; 0: there is no such request
	tempURL  bool // whether it takes signed URLs
	sha256   bool // whether it takes them with SHA-256
}

const (
	pageSize    = 5000
	deleteBatch = 250
)

// unknown is what every cluster that tells nothing of itself is taken for.
func unknown() limits {
	return limits{manifest: 1000, rows: pageSize, deletes: 0, tempURL: true}
}

// info is what clusters tell of themselves at /info, as far as it matters here.
type info struct {
	Swift struct {
		ListingLimit int `json:"container_listing_limit"`
	} `json:"swift"`
	SLO *struct {
		MaxSegments int `json:"max_manifest_segments"`
	} `json:"slo"`
	BulkDelete *struct {
		Max int `json:"max_deletes_per_request"`
	} `json:"bulk_delete"`
	TempURL *struct {
		Digests []string `json:"allowed_digests"`
	} `json:"tempurl"`
}

// discover asks the cluster for its limits. noLarge says that it has no static large objects.
func (c *client) discover(ctx context.Context) (l limits, noLarge bool, err error) {
	base, _, err := c.login(ctx)
	if err != nil {
		return limits{}, false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base, nil)
	if err != nil {
		return limits{}, false, err
	}
	req.URL.Path, req.URL.RawPath = path.Join("/", req.URL.Path, "..", "..", "info"), ""
	resp, err := c.http.Do(req)
	if err != nil {
		return limits{}, false, err
	}
	defer resp.Body.Close()
	var told info
	if resp.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&told) != nil {
		return unknown(), false, nil // operators may hide it
	}
	l = told.limits()
	return l, told.SLO == nil, nil
}

func (i info) limits() limits {
	l := unknown()
	if n := i.Swift.ListingLimit; n > 0 {
		l.rows = min(l.rows, n)
	}
	if i.SLO != nil && i.SLO.MaxSegments > 1 {
		l.manifest = i.SLO.MaxSegments
	}
	if i.BulkDelete != nil {
		l.deletes = min(i.BulkDelete.Max, deleteBatch)
	}
	l.tempURL = i.TempURL != nil
	l.sha256 = l.tempURL && slices.Contains(i.TempURL.Digests, "sha256")
	return l
}
