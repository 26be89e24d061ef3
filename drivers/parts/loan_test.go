package parts_test

import (
	"io"
	"testing"
	"testing/iotest"

	"github.com/parfait-registry/parfait/drivers/parts"
)

// What is lent can be read and sought in as often as one likes, until it is returned.
func TestLoan(t *testing.T) {
	data := []byte("some bytes of a part")
	loan := parts.Lend(data)
	for range 2 {
		if err := iotest.TestReader(loan.Open(), data); err != nil {
			t.Fatal(err)
		}
	}
	begun := loan.Open()
	if _, err := io.ReadFull(begun, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	loan.Return()
	copy(data, "another part altogether")
	for _, r := range []io.Reader{begun, loan.Open()} {
		if got, err := io.ReadAll(r); err == nil || len(got) > 0 {
			t.Errorf("after Return: got %q, %v", got, err)
		}
	}
}
