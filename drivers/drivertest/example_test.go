package drivertest_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/parfait-registry/parfait/drivers"
	"github.com/parfait-registry/parfait/drivers/drivertest"
	"github.com/parfait-registry/parfait/drivers/mem"
)

// Each operation of a piece of code fails in turn, and each time the store must be in order afterwards.
func ExampleFaulty() {
	for n := int64(0); ; n++ {
		d, fault := mem.New(), drivertest.FailNth(n)
		err := drivers.Put(context.Background(), drivertest.Faulty(d, fault.Inject), "a", []byte("hello"))
		if !fault.Fired() {
			break // it has met every operation
		}
		if !errors.Is(err, drivertest.ErrInjected) {
			log.Fatalf("%v went unnoticed", fault)
		}
		_, err = d.Stat(context.Background(), "a")
		fmt.Printf("%v: %v\n", fault, err)
	}
	// Output:
	// operation 0, create "a" at 0: mem: stat "a": file does not exist
	// operation 1, write "a" at 0: mem: stat "a": file does not exist
	// operation 2, commit "a" at 5: mem: stat "a": file does not exist
}
