// Package integration tests Parfait as a whole: the real program with real clients, beside other registries.
package integration

import (
	"os"
	"testing"

	"github.com/parfait-registry/parfait/integration/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }
