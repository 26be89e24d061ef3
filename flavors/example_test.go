package flavors_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/parfait-registry/parfait/flavors"
)

const config = `common: &common
  storage_path: _env:STORAGE_PATH:/registry
  drain_timeout: 30
prod:
  <<: *common
  s3_bucket: _env:AWS_BUCKET
  s3_secret_key: _env:AWS_SECRET
`

// Each package owns the struct of its keys; a flavor is decoded into several of them.
type s3Config struct {
	// Bucket is where objects go.
	Bucket string `yaml:"s3_bucket"`
	// SecretKey goes with the access key. It has a twin, s3_secret_key_file.
	SecretKey string `yaml:"s3_secret_key" flavor:"secret"`
	// StoragePath is the prefix of all keys. Default: none.
	StoragePath string `yaml:"storage_path"`
}

type serverConfig struct {
	// DrainTimeout is how long a stop waits for requests.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

func Example() {
	env := lookup(map[string]string{"SETTINGS_FLAVOR": "prod", "AWS_BUCKET": "acme", "AWS_SECRET": "hunter2"})
	file, err := flavors.Parse("config.yml", []byte(config), env)
	if err != nil {
		log.Fatal(err)
	}
	flavor, err := file.Chosen()
	if err != nil {
		log.Fatal(err)
	}
	var s3 s3Config
	var server serverConfig
	if _, err := flavor.Decode(nil, &s3, &server); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s3.Bucket, s3.StoragePath, server.DrainTimeout)
	flavor.Show(os.Stdout, &s3, &server)

	// Output:
	// acme /registry 30s
	// s3_bucket: acme  # $AWS_BUCKET
	// s3_secret_key: "***"  # $AWS_SECRET
	// storage_path: /registry  # default of $STORAGE_PATH, common, config.yml:2
	// drain_timeout: 30  # common, config.yml:3
}
