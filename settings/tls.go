package settings

// Whether clients show certificates.
const (
	ClientCertsNone     = ""
	ClientCertsOptional = "optional"
	ClientCertsRequired = "required"
)
