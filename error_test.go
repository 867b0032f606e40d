package rollcall_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestError(t *testing.T) {
	cause := fmt.Errorf("write: %w", io.ErrShortWrite)
	for _, tt := range []struct {
		err  *rollcall.Error
		text string
		is   []error
		not  []error
	}{
		{rollcall.Invalid("lease.ttl", "is 1s"), "lease.ttl: is 1s", []error{rollcall.ErrInvalid}, []error{rollcall.ErrTooLarge, io.ErrShortWrite}},
		{&rollcall.Error{Kind: rollcall.ErrNotFound, Detail: "no such service"}, "no such service", []error{rollcall.ErrNotFound}, []error{rollcall.ErrInvalid}},
		{&rollcall.Error{Kind: rollcall.ErrForbidden}, "not allowed", []error{rollcall.ErrForbidden}, nil},
		{&rollcall.Error{Kind: rollcall.ErrForbidden, Field: "id"}, "not allowed", []error{rollcall.ErrForbidden}, nil},
		{
			&rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: "the disk is full", Cause: cause}, "the disk is full",
			[]error{rollcall.ErrUnavailable, io.ErrShortWrite, cause}, []error{rollcall.ErrNotSynced},
		},
	} {
		wrapped := fmt.Errorf("register: %w", tt.err)
		if tt.err.Error() != tt.text {
			t.Errorf("%+v reads %q, want %q", *tt.err, tt.err, tt.text)
		}
		for _, target := range tt.is {
			if !errors.Is(wrapped, target) {
				t.Errorf("%q is not %q", tt.text, target)
			}
		}
		for _, target := range tt.not {
			if errors.Is(wrapped, target) {
				t.Errorf("%q is %q", tt.text, target)
			}
		}
		if e, ok := errors.AsType[*rollcall.Error](wrapped); !ok || e != tt.err {
			t.Errorf("%q is lost in a wrapper", tt.text)
		}
	}
}
