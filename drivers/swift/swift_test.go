package swift_test

import (
	"log/slog"
	"os"
	"testing"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/metered"
	"github.com/parfait-registry/parfait/drivers/swift"
	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }

// TestSwift starts Swift once for all tests that need it.
func TestSwift(t *testing.T) {
	s := harness.OpenStackSwift(t)
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s *harness.Swift)
	}{
		{"driver", testDriver},
		{"open", testOpen},
		{"open/errors", testOpenErrors},
		{"keystone", testKeystone},
		{"token", testToken},
		{"sign", testSign},
		{"requests", testRequests},
		{"listing", testListing},
		{"full", testFull},
		{"create new", testCreateNew},
		{"faults/bursts", testBursts},
		{"faults/outage", testOutage},
		{"faults/read", testRead},
		{"faults/missing segment", testMissingSegment},
		{"large/nesting", testNesting},
		{"large/sharing", testSharing},
		{"large/concatenation", testConcatenation},
		{"large/sweep", testSweep},
		{"large/crashes", testCrashes},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, s) })
	}
}

func testDriver(t *testing.T, s *harness.Swift) {
	drivertest.Run(t, func(t *testing.T) drivers.Driver {
		cfg := config(t, s)
		cfg.Path, cfg.PartSize = "/registry/of/mine", 5<<20
		return metered.New(open(t, cfg))
	})
}

func BenchmarkDriver(b *testing.B) {
	s := harness.OpenStackSwift(b)
	drivertest.Bench(b, func(b *testing.B) drivers.Driver { return open(b, config(b, s)) })
}

// config is for a new container of s.
func config(t testing.TB, s *harness.Swift) swift.Config {
	t.Helper()
	cfg := swift.NewConfig()
	cfg.AuthURL, cfg.User, cfg.Password = s.AuthURL, s.User, s.Password
	cfg.Container = s.NewContainer(t)
	return cfg
}

func open(t testing.TB, cfg swift.Config) *swift.Driver {
	t.Helper()
	d, err := swift.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
