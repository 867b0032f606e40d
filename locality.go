package rollcall

// Locality says in which region, zone and sub-zone an instance runs. Each part
// narrows the one before; empty parts are unknown.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	SubZone string `json:"sub_zone,omitempty"`
}

// Position is a point on the earth in degrees (WGS 84): latitude -90 to 90,
// longitude -180 to 180.
type Position struct {
	Lat float64 `json:"lat"`
	Lon float64 `json:"lon"`
}
