package s3_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	api "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/integration/harness"
)

func BenchmarkDriver(b *testing.B) {
	server := harness.MinIO(b)
	drivertest.Bench(b, func(b *testing.B) drivers.Driver { return open(b, configFor(server, server.NewBucket(b))) })
}

// BenchmarkUpload sets the driver beside what the SDK has for uploads, with parts of the same size and as many at once.
func BenchmarkUpload(b *testing.B) {
	server := harness.MinIO(b)
	bucket := server.NewBucket(b)
	d := open(b, configFor(server, bucket))
	client := api.New(api.Options{
		Region: server.Region, BaseEndpoint: &server.URL, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	})
	sdk := transfermanager.New(client, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = 8*mib, 8*mib, 4
	})
	for _, size := range []int{1 << 10, 64 * mib} {
		data := random(size)
		for name, put := range map[string]func(key string) error{
			"driver": func(key string) error { return drivers.Put(b.Context(), d, key, data) },
			"SDK": func(key string) error {
				_, err := sdk.UploadObject(b.Context(), &transfermanager.UploadObjectInput{
					Bucket: &bucket, Key: aws.String(key), Body: bytes.NewReader(data),
				})
				return err
			},
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					if err := put(fmt.Sprint(i % 8)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
