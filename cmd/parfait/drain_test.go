package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
	"github.com/parfait-registry/parfait/index"
	"github.com/parfait-registry/parfait/registry"
	"github.com/parfait-registry/parfait/server"
)

// TestDrainWaitsForTheStore drains for less time than the store needs for what it is at: that is cut off from its
// client, but store and index may be closed only when it has ended.
func TestDrainWaitsForTheStore(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	committing := make(chan struct{})
	var committed atomic.Bool
	store := drivertest.Faulty(mem.New(), func(op drivertest.Op) error {
		if op.Kind == drivertest.Commit && strings.HasSuffix(op.Key, "/data") {
			close(committing)
			time.Sleep(300 * time.Millisecond)
			committed.Store(true)
		}
		return nil
	})
	db, err := index.Open(t.Context(), index.Config{}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reg, err := registry.Open(t.Context(), registry.Config{}, store, db, log)
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close(context.Background())
	handler := server.New(server.Config{}, reg, nil, log)
	web := &http.Server{Handler: handler}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go web.Serve(listener) // until drain closes it

	target := "http://" + listener.Addr().String() + "/v2/repo/blobs/uploads/?digest=" + digest.FromString("blob").String()
	go func() {
		if resp, err := http.Post(target, "application/octet-stream", strings.NewReader("blob")); err == nil {
			resp.Body.Close() // nobody reads what was cut off
		}
	}()
	<-committing
	if err := drain(t.Context(), web, handler, time.Millisecond, log); err != nil {
		t.Error(err)
	}
	if !committed.Load() {
		t.Error("drain has returned while a request is at the store")
	}
}
