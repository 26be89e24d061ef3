package harness_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/parfait-registry/parfait/integration/harness"
)

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	p := harness.PostgreSQL(t, "max_connections=7")
	if got := p.Query(t, p.URL, "show fsync; show max_connections"); got != "on\n7" {
		t.Errorf("got fsync and max_connections %q, want on and 7", got)
	}
	other := p.NewDatabase(t)
	p.Query(t, p.URL, "create table words (word text); insert into words values ('one')")
	p.Query(t, other, "create table words (word text)")
	check := func(when string) {
		t.Helper()
		if got := p.Query(t, p.URL, "select word from words"); got != "one" {
			t.Errorf("%s: got %q, want one", when, got)
		}
		if got := p.Query(t, other, "select word from words"); got != "" {
			t.Errorf("%s: got %q in the other database, want nothing", when, got)
		}
	}
	check("at first")
	if status := p.Stop(); status != 0 {
		t.Errorf("got exit status %d after a stop, want 0", status)
	}
	p.Start()
	check("after a stop")
	sleep := exec.CommandContext(t.Context(), harness.Command(t, "psql"), "-c", "select pg_sleep(600)", p.URL)
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	for p.Query(t, p.URL, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") != "1" {
		time.Sleep(10 * time.Millisecond)
	}
	p.Kill() // with a client at work
	if err := sleep.Wait(); err == nil {
		t.Error("a query outlives the server")
	}
	p.Start()
	check("after a kill")
}
