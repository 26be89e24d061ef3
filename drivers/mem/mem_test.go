package mem_test

import (
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/drivers/metered"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivers.Driver { return mem.New() })
}

func TestDriver_Metered(t *testing.T) {
	drivertest.Run(t, func(*testing.T) drivers.Driver { return metered.New(mem.New()) })
}

func BenchmarkDriver(b *testing.B) {
	drivertest.Bench(b, func(*testing.B) drivers.Driver { return mem.New() })
}
