package drivers_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/mem"
)

func Example() {
	ctx, d := context.Background(), mem.New()
	w, err := d.Create(ctx, "greetings/hello")
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close() // drops the object, unless Commit comes first
	if _, err := io.WriteString(w, "hello, world\n"); err != nil {
		log.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		log.Fatal(err)
	}
	for o, err := range d.List(ctx, "greetings/", "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(o.Key, o.Size)
	}
	r, err := d.Open(ctx, "greetings/hello", 7, -1)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(os.Stdout, r); err != nil {
		log.Fatal(err)
	}
	// Output:
	// greetings/hello 13
	// world
}

// Parts of an upload are staged, and become one object that is durable.
func ExampleCompose() {
	ctx, d := context.Background(), mem.New()
	for key, data := range map[string]string{"uploads/0": "hello, ", "uploads/7": "world"} {
		if err := drivers.StagePut(ctx, d, key, []byte(data)); err != nil {
			log.Fatal(err)
		}
	}
	if err := drivers.Compose(ctx, d, "blob", "uploads/0", "uploads/7"); err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"uploads/0", "uploads/7"} {
		if err := drivers.Unstage(ctx, d, key); err != nil {
			log.Fatal(err)
		}
	}
	data, err := drivers.ReadAll(ctx, d, "blob", 100)
	fmt.Printf("%s %v\n", data, err)
	// Output: hello, world <nil>
}
