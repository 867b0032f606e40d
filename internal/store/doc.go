// Package store is what the kinds of log have in common: the head, against
// which the one writer of a log judges the next batch, the feed, through which
// followers wait for what it wrote, and the errors that writers see.
package store
