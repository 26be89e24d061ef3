package access

import (
	"strings"
	"testing"
)

// hashed is a line of a user whose password is as cheap to check as can be.
func hashed(t testing.TB, user, password string) string {
	t.Helper()
	hash, err := HashPassword(password, MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + hash + "\n"
}

func TestHtpasswd(t *testing.T) {
	// What Apache's htpasswd and the bcrypt of Go have written; $2b$ is a third name for the same.
	const text = "\ufeff# users\r\n\r\n" +
		"apache:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\r\n" +
		"  other:$2b$04$Pyv3lhiG4ha.pDONjJXG1OzepGPj6OSIcCPNXVn9AAZJTT8LEyFhC \n" +
		"golang:$2a$04$Pyv3lhiG4ha.pDONjJXG1OzepGPj6OSIcCPNXVn9AAZJTT8LEyFhC"
	h := ParseHtpasswd([]byte(text))
	if got := h.Problems("f"); len(got) != 0 {
		t.Errorf("got problems %q", got)
	}
	for _, tt := range []struct {
		user, password string
		known, right   bool
	}{
		{"apache", "myPassword", true, true},
		{"apache", "mypassword", true, false},
		{"other", "allmine", true, true},
		{"golang", "allmine", true, true},
		{"golang", "", true, false},
		{"Golang", "allmine", false, false},
		{"# users", "", false, false},
		{"", "", false, false},
	} {
		if known, right := h.Verify(tt.user, tt.password); known != tt.known || right != tt.right {
			t.Errorf("%q: got %v, %v, want %v, %v", tt.user, known, right, tt.known, tt.right)
		}
	}
	if got := string(h.Bytes()); got != strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")+"\n" {
		t.Errorf("got %q back", got)
	}
}

func TestHtpasswdProblems(t *testing.T) {
	good := strings.TrimSuffix(hashed(t, "good", "secret"), "\n")
	cut := good[:len(good)-3]
	for _, tt := range []struct{ text, want string }{
		{"eve", `line 1: it is not of the form user:hash`},
		{":" + good, `line 1: it is not of the form user:hash`},
		{"eve:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", `line 1, user "eve": its password is stored as MD5, not as bcrypt; type: parfait htpasswd -B f eve`},
		{"eve:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "stored as SHA-1"},
		{"eve:$6$salt$hash", "stored as SHA-512"},
		{"eve:$5$salt$hash", "stored as SHA-256"},
		{"eve:$y$j9T$salt$hash", "stored as yescrypt"},
		{"eve:rqXexS6ZhobKA", "plain text or by crypt"},
		{"eve:hunter2", "plain text or by crypt"},
		{"eve:", "plain text or by crypt"},
		{"eve" + cut[len("good"):], "a damaged bcrypt hash"},
		{"eve:$2x$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "a damaged bcrypt hash"},
		{"eve:$2y$31$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "has the cost 31"},
		{"eve:$2y$03$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", "has the cost 3,"},
		{"anonymous" + good[len("good"):], `"anonymous" is no name for a user`},
		{"*" + good[len("good"):], `"*" is no name for a user`},
	} {
		h := ParseHtpasswd([]byte(tt.text + "\n" + good))
		got := h.Problems("f")
		if len(got) != 1 || !strings.Contains(got[0], tt.want) {
			t.Errorf("%s: got %q, want %s", tt.text, got, tt.want)
		}
		if _, secret, _ := strings.Cut(tt.text, ":"); len(secret) > 5 && strings.Contains(strings.Join(got, ""), secret) {
			t.Errorf("%s: %q tells the hash", tt.text, got)
		}
		if known, _ := h.Verify("eve", "hunter2"); known {
			t.Errorf("%s: eve can log in", tt.text)
		}
		if _, right := h.Verify("good", "secret"); !right {
			t.Errorf("%s: good cannot log in", tt.text)
		}
	}
	h := ParseHtpasswd([]byte(hashed(t, "eve", "a") + "eve:{SHA}x\n"))
	if known, _ := h.Verify("eve", "a"); known {
		t.Error("a user can log in by a line that another one replaces")
	}
}

func TestHtpasswdEdits(t *testing.T) {
	h := ParseHtpasswd([]byte("# head\nalice:1\nbob:2\n\nalice:3\n# tail"))
	if h.Set("alice", "new") {
		t.Error("alice was added")
	}
	if !h.Set("carol", "4") {
		t.Error("carol was not added")
	}
	if want := "# head\nalice:new\nbob:2\n\n# tail\ncarol:4\n"; string(h.Bytes()) != want {
		t.Errorf("got %q, want %q", h.Bytes(), want)
	}
	if !h.Remove("bob") || h.Remove("bob") {
		t.Error("bob was not removed once")
	}
	if want := "# head\nalice:new\n\n# tail\ncarol:4\n"; string(h.Bytes()) != want {
		t.Errorf("got %q, want %q", h.Bytes(), want)
	}
}

func TestHashPassword(t *testing.T) {
	long := strings.Repeat("x", 72)
	hash, err := HashPassword(long, 5)
	if err != nil || !strings.HasPrefix(hash, "$2y$05$") {
		t.Fatalf("got %s, %v", hash, err)
	}
	if _, right := ParseHtpasswd([]byte("a:"+hash)).Verify("a", long); !right {
		t.Error("the password is not that of its hash")
	}
	if _, err := HashPassword(long+"x", 5); err == nil || !strings.Contains(err.Error(), "72 bytes") {
		t.Errorf("got %v, want that the password is too long", err)
	}
	for _, cost := range []int{3, 18} {
		if _, err := HashPassword("x", cost); err == nil {
			t.Errorf("cost %d: no error", cost)
		}
	}
}

func TestCheckUser(t *testing.T) {
	for user, want := range map[string]bool{
		"alice": true, "alice@example.com": true, "Ä b": true, "a#": true, strings.Repeat("x", 255): true,
		"": false, "a:b": false, "#a": false, " a": false, "a\n": false, "a\nb": false, "\ufeffa": false, "anonymous": false, "*": false,
		strings.Repeat("x", 256): false,
	} {
		if err := CheckUser(user); (err == nil) != want {
			t.Errorf("%q: got %v", user, err)
		}
	}
}

func FuzzHtpasswd(f *testing.F) {
	for _, s := range []string{"a:b\n", "#\n\n:x\na", "\ufeffa:$2y$05$x", "a:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\r\n"} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, text, user string) {
		h := ParseHtpasswd([]byte(text))
		h.Problems("f")
		for name, hash := range h.hashes() {
			if checkHash(hash) != "" || name == "" {
				t.Errorf("%q can log in with %q", name, hash)
			}
		}
		if CheckUser(user) != nil {
			return
		}
		others := h.hashes()
		const hash = "$2y$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
		h.Set(user, hash)
		got := ParseHtpasswd(h.Bytes()).hashes()
		if got[user] != hash {
			t.Errorf("%q is not in %q", user, h.Bytes())
		}
		for name, hash := range others {
			if name != user && got[name] != hash {
				t.Errorf("%q is not what it was in %q", name, h.Bytes())
			}
		}
		h.Remove(user)
		if _, ok := ParseHtpasswd(h.Bytes()).hashes()[user]; ok {
			t.Errorf("%q is still in %q", user, h.Bytes())
		}
	})
}
