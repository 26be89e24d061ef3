package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestMan looks for a page of each command, with each of its flags.
func TestMan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if status, _, stderr := command(t, "man", dir); status != 0 {
		t.Fatal(stderr)
	}
	pages := 0
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		pages++
		for _, want := range []string{`.TH "` + strings.ToUpper(name) + `" "1"`, ".SH SYNOPSIS"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("%s: no %s", name, want)
			}
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	root := newRoot()
	root.InitDefaultCompletionCmd()
	look(root)
	if pages < 20 {
		t.Errorf("got %d pages, want those of more than 20 commands", pages)
	}
	if status, _, stderr := command(t, "man", filepath.Join(dir, "parfait.1")); status != 2 {
		t.Errorf("a file as folder: got status %d, %q", status, stderr)
	}
}

// TestCompletion has each shell's script speak of commands that there are.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if status, script, stderr := command(t, "completion", shell); status != 0 || !strings.Contains(script, "__complete") {
			t.Errorf("%s: got status %d, %q", shell, status, stderr)
		}
	}
	if _, names, _ := command(t, "__complete", "doc"); !strings.Contains(names, "doctor\t") {
		t.Errorf("got %q for doc, want doctor", names)
	}
}
