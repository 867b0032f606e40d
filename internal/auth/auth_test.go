package auth

import (
	"context"
	"testing"
)

func TestPrincipal(t *testing.T) {
	if p := From(context.Background()); p != (Principal{Name: "rollcall", Door: "internal"}) {
		t.Errorf("without a caller it is %+v, want the server itself", p)
	}
	ctx := With(t.Context(), Anonymous("http"))
	if p := From(ctx); p != (Principal{Name: "anonymous", Door: "http"}) {
		t.Errorf("%+v", p)
	}
	if p := From(With(ctx, Principal{Name: "op", Door: "grpc"})); p.Name != "op" {
		t.Errorf("%+v, want the innermost", p)
	}
}
