package drivertest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
)

// Bench measures the driver that open returns: what a push and a pull take of it, and how fast it lists.
func Bench(b *testing.B, open func(b *testing.B) drivers.Driver) {
	d := open(b)
	for _, size := range []int{512, 1 << 20, 64 << 20} {
		data := []byte(strings.Repeat("x", size))
		b.Run(fmt.Sprintf("create/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				key := fmt.Sprintf("create/%d/%02x/%d/data", size, i%256, i)
				if err := drivers.Put(b.Context(), d, key, data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("open/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			if err := drivers.Put(b.Context(), d, "open", data); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r, err := d.Open(b.Context(), "open", 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range d.List(b.Context(), "create/", "") {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "objects/op")
		}
	})
}
