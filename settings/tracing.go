package settings

// Tracing says which requests are spans of OpenTelemetry.
type Tracing struct {
	Sampler    Sampler `json:"sampler"`
	Ratio      float64 `json:"ratio"`                // of the samplers that have one
	Propagates bool    `json:"propagates,omitempty"` // traceparent is taken from clients, and given to the application
}

// Sampler is a value of OTEL_TRACES_SAMPLER.
type Sampler string

// The samplers. Those of a parent do as it does, where there is one.
const (
	SamplerOn          Sampler = "always_on"
	SamplerOff         Sampler = "always_off"
	SamplerRatio       Sampler = "traceidratio"
	SamplerParentOn    Sampler = "parentbased_always_on"
	SamplerParentOff   Sampler = "parentbased_always_off"
	SamplerParentRatio Sampler = "parentbased_traceidratio"
)

// Samplers are all of them.
var Samplers = [...]Sampler{SamplerOn, SamplerOff, SamplerRatio, SamplerParentOn, SamplerParentOff, SamplerParentRatio}
