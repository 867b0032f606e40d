//go:build !unix

package httpapi_test

func connections() int { return 200 }
