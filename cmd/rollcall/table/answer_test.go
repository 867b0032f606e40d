package table

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// An answer has columns for what is in it, and for nothing else.
func TestInstancesHaveTheColumnsTheyNeed(t *testing.T) {
	km, weight := 1.25, uint16(50)
	plain := rollcall.Instance{Namespace: "default", Service: "web", ID: "w-1"}
	near, other := plain, plain
	near.Distance, near.EffectiveWeight = &km, &weight
	other.Namespace, other.Service = "dr", "spare"
	for _, c := range []struct {
		of   []rollcall.Instance
		want string
	}{
		{nil, "ID ADDRESS PORTS HEALTH ZONE WEIGHT VERSION"},
		{[]rollcall.Instance{plain}, "ID ADDRESS PORTS HEALTH ZONE WEIGHT VERSION w-1 - - - - 100 -"},
		{[]rollcall.Instance{near, plain}, "ID ADDRESS PORTS HEALTH ZONE KM WEIGHT VERSION w-1 - - - - 1.2 50/100 - w-1 - - - - - 100 -"},
		{[]rollcall.Instance{other}, "SERVICE ID ADDRESS PORTS HEALTH ZONE WEIGHT VERSION dr/spare w-1 - - - - 100 -"},
	} {
		var b strings.Builder
		err := Instances(&b, &rollcall.Answer{Namespace: "default", Service: "Web", Instances: c.of}).Flush()
		if got := strings.Join(strings.Fields(b.String()), " "); got != c.want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, c.want)
		}
	}
}

func TestExplanationsNameServicesThatDiffer(t *testing.T) {
	r := rollcall.Reason{ID: "w-1", In: true, EffectiveWeight: 7, Why: "healthy"}
	named := r
	named.Namespace, named.Service, named.In = "dr", "spare", false
	for want, of := range map[string][]rollcall.Reason{
		"IN ID WEIGHT SINCE WHY yes w-1 7 - healthy":                 {r},
		"IN SERVICE ID WEIGHT SINCE WHY no dr/spare w-1 - - healthy": {named},
	} {
		var b strings.Builder
		err := Explanation(&b, &rollcall.Explanation{Instances: of}).Flush()
		if got := strings.Join(strings.Fields(b.String()), " "); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}
