package grpcapi_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// TestReferenceHasTheMethods: each has a line in the reference, in order.
func TestReferenceHasTheMethods(t *testing.T) {
	text, err := os.ReadFile("../../docs/grpc.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z][a-z]+)` \\| (call|stream) \\|").FindAllSubmatch(text, -1) {
		got = append(got, string(m[1])+" "+string(m[2]))
	}
	methods := pb.File_rollcall_proto.Services().Get(0).Methods()
	for n := range methods.Len() {
		kind := " call"
		if methods.Get(n).IsStreamingServer() {
			kind = " stream"
		}
		want = append(want, string(methods.Get(n).Name())+kind)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-API +reference)\n%s", diff)
	}
}
