// Package parfait holds what the binary carries of the repository's top level.
package parfait

import _ "embed" // for go:embed, which cannot reach up from cmd/parfait

// Sample is config_sample.yml, the configuration of whoever has none of their own.
//
//go:embed config_sample.yml
var Sample []byte
