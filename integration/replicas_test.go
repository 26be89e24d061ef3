package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/parfait-registry/parfait/integration/harness"
)

// replicated is a place that three servers share. Each request goes to the next one of them.
type replicated place

const replicas = 3

func (in replicated) start(t *testing.T, o harness.Options) *harness.Server {
	t.Helper()
	in(t, &o)
	return harness.Balance(t, startReplicas(t, o)...)
}

// startReplicas starts servers that differ in nothing but their addresses.
func startReplicas(t *testing.T, o harness.Options) []*harness.Server {
	t.Helper()
	if o.Storage == "" {
		o.Storage = t.TempDir()
	}
	servers := make([]*harness.Server, replicas)
	for i := range servers {
		servers[i] = harness.StartParfait(t, o)
	}
	return servers
}

// s3AndPostgreSQL gives each server a bucket, and a database for its index.
func s3AndPostgreSQL(t *testing.T) place {
	t.Helper()
	s3, database := harness.MinIO(t), harness.PostgreSQL(t, "fsync=off")
	bucket, index := s3Store(s3, s3.URL), onPostgreSQL(database)
	return func(t *testing.T, o *harness.Options) {
		t.Helper()
		bucket(t, o)
		o.Env = slices.DeleteFunc(o.Env, func(pair string) bool { return strings.HasPrefix(pair, "INDEX_DATABASE=") })
		index(t, o)
	}
}

// TestReplicasLogin has clients log in where each of their requests meets another server than the one that has given
// them the token.
func TestReplicasLogin(t *testing.T) {
	s, digest := guardedOn(t, replicated(onPostgreSQL(harness.PostgreSQL(t))), true)
	for _, client := range []struct {
		name string
		test func(t *testing.T, addr, digest string)
	}{
		{"crane", craneLogin}, {"skopeo", skopeoLogin}, {"oras", orasLogin}, {"containerd", containerdLogin},
		{"go-containerregistry", ggcrLogin},
	} {
		t.Run(client.name, func(t *testing.T) { client.test(t, s.Addr, digest) })
	}
}

var replicaKills = flag.Int("replicas.kills", 12, "how often TestReplicasKill kills a server")

// TestReplicasKill kills one of three servers, again and again, while clients push and delete by a proxy that hands each
// request to the next one. What was acknowledged is there at once, whole, from each of the others, and from the killed one
// when it is back. In the end index and store agree.
func TestReplicasKill(t *testing.T) {
	kills := *replicaKills
	if testing.Short() {
		kills = min(kills, 3)
	}
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with -kill.seed=%d", seed)
	s3, database := harness.MinIO(t), harness.PostgreSQL(t, "fsync=off")
	index := database.NewDatabase(t)
	o := harness.Options{Env: []string{"LOGLEVEL=warn"}}
	s3Store(s3, s3.URL)(t, &o)
	o.Env = append(o.Env, "INDEX_DATABASE="+index)
	servers := startReplicas(t, o)
	balanced := harness.Balance(t, servers...)
	k := newKiller(t, seed)
	for round := range kills {
		victim := k.rand.IntN(len(servers))
		others := slices.Delete(slices.Clone(servers), victim, victim+1)
		k.loadReplicas(balanced, servers[victim])
		for _, s := range others {
			k.acknowledged(s)
		}
		if round == kills-1 {
			// Others wait for minutes before they do what it has left undone.
			database.Query(t, index, "update outbox set posted_at = 0")
		}
		servers[victim].Start()
		for _, s := range others {
			k.look(s, 5)
		}
		k.look(servers[victim], 20)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	for _, s := range servers {
		k.look(s, 1<<30)
		k.lists(s)
	}
	awaitSettled(t, database, index)
	for _, s := range servers {
		if status := s.Stop(); status != 0 {
			t.Errorf("stop: got exit status %d, want 0", status)
		}
	}
	checkIndexOf(t, o)
	facts, acked := 0, 0
	for _, c := range k.clients {
		facts += len(c.ledger.facts)
		acked += c.ledger.acked
	}
	t.Logf("%d kills, %d acknowledged changes of %d facts, %d cut uploads ended by another server", kills, acked, facts, k.resumed)
}

// loadReplicas has the clients work by way of the proxy until victim is killed, which happens at a random time, and each
// of them has noticed, or for a little longer.
func (k *killer) loadReplicas(balanced, victim *harness.Server) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	defer cancel()
	work := time.Duration(100+k.rand.IntN(1500)) * time.Millisecond
	var killing sync.WaitGroup
	killing.Go(func() {
		time.Sleep(work)
		victim.Kill()
		time.AfterFunc(time.Second, cancel)
	})
	k.each(balanced, func(c *killClient, web *rawClient) []error {
		for ctx.Err() == nil {
			err := c.work(k.t.Context(), web)
			if e, ok := errors.AsType[*rawError](err); ok && e.status != http.StatusBadGateway {
				return []error{err}
			}
			if err != nil {
				return nil // whether that was done is found out later
			}
		}
		return nil
	})
	killing.Wait()
}

// acknowledged compares what the clients know for certain of the last round with what a server has.
func (k *killer) acknowledged(s *harness.Server) {
	k.t.Helper()
	k.each(s, func(c *killClient, web *rawClient) []error {
		l := c.ledger.clone()
		var certain []fact
		for f := range c.ledger.touched {
			if _, ok := l.state(f); ok {
				certain = append(certain, f)
			}
		}
		return l.look(k.t.Context(), web, certain)
	})
}

// awaitSettled waits until the servers on an index have nothing more to bring to the store.
func awaitSettled(t *testing.T, database *harness.Postgres, index string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		left := database.Query(t, index, "select count(*) from outbox")
		if left == "0" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s changes are not settled", left)
		}
	}
}

// TestReplicasTagRace has two clients push one tag at the same time through two servers. Index and store end with the
// same one of the two.
func TestReplicasTagRace(t *testing.T) {
	s3, database := harness.MinIO(t), harness.PostgreSQL(t, "fsync=off")
	index, bucket := database.NewDatabase(t), s3.NewBucket(t)
	o := harness.Options{Flavor: "s3", Storage: "/registry", Env: []string{"LOGLEVEL=warn", "INDEX_DATABASE=" + index,
		"AWS_BUCKET=" + bucket, "AWS_ENDPOINT_URL=" + s3.URL, "AWS_REGION=" + s3.Region, "AWS_KEY=" + s3.AccessKey, "AWS_SECRET=" + s3.SecretKey}}
	servers := startReplicas(t, o)
	const repo, races = "race", 60
	r := rand.New(rand.NewPCG(9, 9))
	var clients []*rawClient
	var images []rawManifest
	for _, s := range servers[:2] {
		client, image := newRawClient(s.URL), newRawImage(r, newRawBlob(r, 1000))
		defer client.close()
		if err := client.pushImage(t.Context(), repo, "", postPut, image); err != nil {
			t.Fatal(err)
		}
		clients, images = append(clients, client), append(images, image)
	}
	for race := range races {
		var both sync.WaitGroup
		for i, client := range clients {
			both.Go(func() {
				if err := client.pushManifest(t.Context(), repo, fmt.Sprint("t", race), images[i]); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	awaitSettled(t, database, index)
	wins := make(map[string]int)
	for race := range races {
		tag := fmt.Sprint("t", race)
		key := "registry/docker/registry/v2/repositories/" + repo + "/_manifests/tags/" + tag + "/current/link"
		object, err := s3.Eye(t).GetObject(t.Context(), bucket, key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		link, err := io.ReadAll(object)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range servers {
			a := newWire(t, s.URL).ask(200, "HEAD", "/v2/"+repo+"/manifests/"+tag, nil)
			if got := a.header.Get("Docker-Content-Digest"); got != string(link) {
				t.Errorf("%s: the index has %s, the store %s", tag, got, link)
			}
		}
		wins[string(link)]++
	}
	t.Logf("won: %v", wins)
	for digest := range wins {
		if digest != images[0].digest().String() && digest != images[1].digest().String() {
			t.Errorf("a tag points to %s, which nobody has pushed", digest)
		}
	}
	for _, s := range servers {
		s.Stop()
	}
	checkIndexOf(t, o)
}
