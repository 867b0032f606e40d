// Package plain is the least that can make records durable, as the limit that others are
// compared with: a file, one write and one fdatasync for all writers that wait. It neither
// rotates nor repairs. It also has the slow disk that shows how a log does where an fsync
// takes longer than here.
package plain
