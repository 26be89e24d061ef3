package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dataFile is the file for the index of a store that has no folder of its own. Each store has another one: whatever
// tells it from all others is in place.
func dataFile(storage string, place ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(place, "\n")))
	return filepath.Join(dataFolder(), fmt.Sprintf("%s-%x.db", storage, sum[:8]))
}

// dataFolder is where a program of this kind keeps its data: what systemd gives it, or the user has for such things.
func dataFolder() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "parfait")
	}
	home, err := os.UserHomeDir()
	if os.Geteuid() == 0 || err != nil {
		return "/var/lib/parfait"
	}
	return filepath.Join(home, ".local/share/parfait")
}
