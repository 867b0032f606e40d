// Package form reads the JSON bodies of requests into the types of package
// rollcall, strictly: members that are not known, names that come twice, bytes
// that are not UTF-8, values of another type and anything behind the end are
// errors that name the field as a path ("checks[0].ttl") and say what is
// expected. What a value may be beyond its type is for its user to check, for
// all doors alike ([rollcall.Instance.Validate]).
//
// The decoders are written by hand on a tokenizer. They know at each place what
// may come there, and so nest no deeper than what they read; and registrations
// are read in bulk, where reflection is most of the cost.
package form
