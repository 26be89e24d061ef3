package gocloud

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/parfait-registry/parfait/drivers"
)

// probe checks that the driver can list, write, read and delete. Its error is a [drivers.Error].
func (d *Driver) probe(ctx context.Context) error {
	key := "parfait/probe/" + strings.ToLower(rand.Text())
	for _, err := range d.List(ctx, key, "") {
		if err != nil {
			return err
		}
	}
	if err := drivers.Put(ctx, d, key, []byte("parfait")); err != nil {
		return err
	}
	_, err := drivers.ReadAll(ctx, d, key, 1<<10)
	return errors.Join(err, d.Delete(ctx, key))
}
