package wire

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestTurn(t *testing.T) {
	turn := NewTurn(3)
	ask := func(ctx context.Context, answers ...error) (asked []int, err error) {
		err = turn.Ask(ctx, func(i int) error {
			asked = append(asked, i)
			return answers[i]
		})
		return asked, err
	}
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	away, bad := &rollcall.Error{Kind: ErrUnreachable}, &rollcall.Error{Kind: rollcall.ErrInvalid}
	for n, x := range []struct {
		ctx     context.Context
		answers []error
		asked   []int
		err     error
	}{
		{t.Context(), []error{away, nil, nil}, []int{0, 1}, nil},
		{t.Context(), []error{nil, nil, nil}, []int{1}, nil}, // who answered last is first
		{t.Context(), []error{nil, bad, nil}, []int{1}, bad}, // no other does better
		{t.Context(), []error{away, away, away}, []int{1, 2, 0}, away},
		{late, []error{nil, away, nil}, []int{1}, away}, // there is no time for the others,
		{t.Context(), []error{nil, nil, nil}, []int{2}, nil},
	} {
		asked, err := ask(x.ctx, x.answers...)
		if !slices.Equal(asked, x.asked) || !errors.Is(err, x.err) {
			t.Errorf("%d: asked %v, %v; want %v, %v", n, asked, err, x.asked, x.err)
		}
	}
	turn.Leave(1) // which is not first
	if asked, _ := ask(t.Context(), nil, nil, nil); !slices.Equal(asked, []int{2}) {
		t.Errorf("asked %v", asked)
	}
	turn.Leave(2)
	if asked, _ := ask(t.Context(), nil, nil, nil); !slices.Equal(asked, []int{0}) {
		t.Errorf("after the last was left, asked %v", asked)
	}
	var all []int
	if err := turn.AskAll(t.Context(), func(i int) error { all = append(all, i); return bad }); err != bad || len(all) != 3 {
		t.Errorf("asked %v of all, %v", all, err)
	}
}

func TestAnswers(t *testing.T) {
	var a Answers[string]
	first, one := a.Ask()
	second, two := a.Ask()
	dropped, none := a.Ask()
	a.Drop(dropped)
	for _, ref := range []uint64{second, first, dropped, 0, 99} {
		a.Answer(ref, "to "+string(rune('0'+ref%10)))
	}
	a.Answer(first, "again") // blocks nobody
	if x, y := <-one, <-two; x != "to 1" || y != "to 2" || len(none) != 0 {
		t.Errorf("answered %q and %q, and %d to who has gone", x, y, len(none))
	}
}
