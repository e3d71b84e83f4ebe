package protocol

// Static is a directory whose files workers serve themselves, below a path.
type Static struct {
	Prefix string `json:"prefix"` // "/static"
	Dir    string `json:"dir"`    // absolute
}
