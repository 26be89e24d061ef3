package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// oldRegistry is a folder of a docker-registry 0.x with two tags of one image, one in a repository that is no valid name
// today.
func oldRegistry(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const id = "0123456789abcdef"
	for key, data := range map[string]string{
		"images/" + id + "/json":                 `{"id":"` + id + `","created":"2013-06-13T14:03:50-07:00"}`,
		"images/" + id + "/ancestry":             `["` + id + `"]`,
		"images/" + id + "/layer":                strings.Repeat("\x00", 1024),
		"repositories/library/app/tag_v1":        id,
		"repositories/library/app/_private":      "",
		"repositories/library/Upper/tag_v1":      id,
		"repositories/library/app/tagv1_json":    `{"os":"linux"}`,
		"repositories/library/app/_index_images": `[]`,
	} {
		name := filepath.Join(dir, key)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestImportV1(t *testing.T) {
	t.Chdir(t.TempDir())
	old, store := oldRegistry(t), filepath.Join(t.TempDir(), "store")
	t.Setenv("STORAGE_PATH", store)
	config := filepath.Join(t.TempDir(), "config.yml")
	text := "new: {storage: local, storage_path: " + store + "}\nold: {storage: local, storage_path: " + old + "}\n" +
		"both: {storage: local, storage_path: " + oldRegistry(t) + "}\nbad: {storage: nope}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	before := names(t, old)
	for _, tt := range []struct {
		args           string
		status         int
		stdout, stderr string // parts of them
	}{
		{"--from " + old + " --dry-run", 1, "to be imported: library/app:v1 0123456789abcdef as app", "left out: library/Upper: NAME_INVALID"},
		{"--from " + old + " --dry-run", 1, "1 tags to be imported, 0 imported before", "note: library/app was private"},
		{"", 2, "", "neither a folder images nor a folder repositories"},
		{"--from nowhere", 2, "", `"nowhere" is neither a folder nor a flavor of built-in config_sample.yml`},
		{"--from " + config, 2, "", "not a folder"},
		{"--from " + old + " --rename library/nobody=a", 2, "", `no repository "library/nobody"`},
		{"--from " + old + " --rename library/app=A", 2, "", "NAME_INVALID"},
		{"--from " + old + " --rename library/app", 2, "", "--rename"},
		{"--from bad -f new -c " + config, 2, "", `no back end "nope"`},
		{"--from " + old, 1, "imported: library/app:v1 0123456789abcdef as app sha256:", "parfait: 1 things were left out"},
		{"--from old -f new -c " + config + " --rename library/Upper=upper", 0, "2 repositories: 1 tags imported, 1 imported before, 0 things left out", ""},
		{"--from old -f new -c " + config + " --rename library/Upper=upper --dry-run", 0, "0 tags to be imported, 2 imported before", ""},
		{"-f both -c " + config + " --rename library/Upper=app2", 0, "2 tags imported", ""},
		{"-f both -c " + config + " --rename library/Upper=app2", 0, "0 tags imported, 2 imported before", ""},
	} {
		stored := names(t, store)
		status, stdout, stderr := command(t, append([]string{"import-v1"}, strings.Fields(tt.args)...)...)
		if status != tt.status || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("parfait import-v1 %s: got status %d, stdout %q, stderr %q", tt.args, status, stdout, stderr)
		}
		if now := names(t, store); strings.Contains(tt.args, "--dry-run") && !slices.Equal(now, stored) {
			t.Errorf("parfait import-v1 %s: the store had %q and has %q", tt.args, stored, now)
		}
	}
	if after := names(t, old); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("the old store has changed: got %q, want %q", after, before)
	}
}

// names lists the files below a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if name == dir && os.IsNotExist(err) {
			return nil
		}
		if err == nil && e.Type().IsRegular() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
