module github.com/rollcall-registry/rollcall

go 1.26

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/tidwall/btree v1.8.2 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
