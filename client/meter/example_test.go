package meter_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"

	"github.com/rollcall-registry/rollcall/client/meter"
)

// A server tells with each answer how busy it is.
func Example() {
	m := meter.New(meter.Options{Capacity: 200})
	handler := m.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "charged")
	}))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/charge", nil))
	fmt.Println(w.Header().Get("Endpoint-Load-Metrics") != "")
	fmt.Println(m.Load().InFlight)
	// Output:
	// true
	// 0
}

func ExampleMeter_UnaryServerInterceptor() {
	m := meter.New(meter.Options{Capacity: 200})
	s := grpc.NewServer(grpc.UnaryInterceptor(m.UnaryServerInterceptor()), grpc.StreamInterceptor(m.StreamServerInterceptor()))
	defer s.Stop()
	// Register services, listen, serve; and have the registry told, too:
	// c.Register(ctx, instance, client.WithLoad(m.Load)).
}
