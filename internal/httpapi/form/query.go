package form

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// maxWait bounds long polls.
const maxWait = 10 * time.Minute

// Query reads the parameters of a query into q. It is the counterpart of
// [rollcall.Query.Values].
func Query(params url.Values, q *rollcall.Query) error {
	for name, values := range params {
		if cap, ok := strings.CutPrefix(name, "cap."); ok {
			q.Capability = matches(q.Capability, cap, values)
			continue
		}
		if meta, ok := strings.CutPrefix(name, "meta."); ok {
			q.Metadata = matches(q.Metadata, meta, values)
			continue
		}
		if err := parameter(q, name, values[0]); err != nil {
			return rollcall.Invalid(name, err.Error())
		}
	}
	return nil
}

func matches(ms []rollcall.Match, name string, values []string) []rollcall.Match {
	for _, v := range values {
		ms = append(ms, rollcall.Match{Name: name, Value: v})
	}
	return ms
}

func parameter(q *rollcall.Query, name, value string) (err error) {
	switch name {
	case "filter", "near", "subset", "pick":
		if value == "" || name == "pick" && value == "0" { // of an unset variable, say
			return fmt.Errorf("%q asks for nothing; leave it out", value)
		}
	}
	switch name {
	case "namespace":
		q.Namespace = value
	case "health":
		q.Health = value
	case "filter":
		q.Filter = value
	case "near":
		q.Near = value
	case "limit":
		q.Limit, err = count(value)
	case "pick":
		q.Pick, err = count(value)
	case "caller":
		q.Caller = value
	case "subset":
		q.Subset = value
	case "subset_size":
		q.SubsetSize, err = count(value)
	case "at":
		q.At, err = Moment(value, time.Now(), -1)
	case "min_revision":
		var n uint64
		if n, err = strconv.ParseUint(value, 10, 64); err != nil {
			err = fmt.Errorf("%.40q is not a revision", value)
		}
		q.MinRevision = rollcall.Revision(n)
	case "max_age":
		if q.MaxAge, err = span(value, 0); err == nil && q.MaxAge == 0 {
			err = fmt.Errorf("%.40q is no age that an answer could have; for what was written before, say consistent=1", value)
		}
	case "consistent":
		if q.Consistent, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%.40q is neither 1 nor 0", value)
		}
	case "after":
		q.After, err = rollcall.ParseToken(value)
	case "wait":
		q.Wait, err = span(value, maxWait)
	}
	return err
}

func count(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a whole number from 0 to %d", s, 1<<31-1)
	}
	return int(n), nil
}

// span reads a duration from 0 to most; most 0 is no bound.
func span(s string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.40q is not a duration: write it like 500ms, 15s or 1m30s", s)
	case d < 0:
		return 0, fmt.Errorf("%.40q is negative", s)
	case most > 0 && d > most:
		return 0, fmt.Errorf("%.40q is more than %v", s, rollcall.Duration(most))
	}
	return d, nil
}
