package settings

import (
	"time"

	"hostler/internal/logformat"
)

// Worker is what the workers run on. Its JSON is what they are told; times are
// nanoseconds in it. The zero value of a limit means none unless said otherwise.
type Worker struct {
	App   string `json:"app"`             // MODULE[:ATTR | :FACTORY()]
	Paste string `json:"paste,omitempty"` // FILE[#NAME] of PasteDeploy, which then says what the application is

	Chdir      string   `json:"chdir,omitempty"` // where workers run; "": where they are started
	Umask      string   `json:"umask,omitempty"` // octal; "": as it is
	PythonPath []string `json:"pythonpath,omitempty"`
	Preload    bool     `json:"preload,omitempty"` // workers are forked from a mold
	Warmup     []string `json:"warmup,omitempty"`  // request targets that the mold runs first

	ReadyPath    string        `json:"ready_path,omitempty"`    // the application has to answer this before its worker serves; "": nothing
	ReadyHost    string        `json:"ready_host,omitempty"`    // for whom that request is
	ReadyTimeout time.Duration `json:"ready_timeout,omitempty"` // how long it is asked again
	Hooks        string        `json:"hooks,omitempty"`         // module of functions that are run at certain moments
	Conf         string        `json:"conf,omitempty"`          // settings file of Gunicorn's, a path or python:MODULE, which is run before the application
	Interface    string        `json:"interface"`               // InterfaceAuto or another: what the application is for
	Loop         string        `json:"loop"`                    // the event loop of an ASGI application: auto, asyncio, uvloop or MODULE:FACTORY; or gevent, of a WSGI application
	Lifespan     string        `json:"lifespan"`                // LifespanAuto or another: whether an ASGI application is told of start and end

	Threads           int      `json:"threads"`
	ThreadsAuto       bool     `json:"threads_auto,omitempty"` // at most so many, as they help
	SpareThread       bool     `json:"spare_thread,omitempty"` // keep the last free thread from routes known to be slow
	Pools             []Pool   `json:"pools,omitempty"`
	Static            []Static `json:"static,omitempty"`
	WorkerConnections int      `json:"worker_connections"`
	Queue             int      `json:"queue"`
	WorkerConcurrency int      `json:"worker_concurrency,omitempty"` // requests that an event loop runs at once; 0: any

	QueueWait      time.Duration `json:"queue_wait"`                // requests that wait for so long are too many; 0: never
	HealthPaths    []string      `json:"health_paths,omitempty"`    // requests for these go ahead of others
	HTTP2Cleartext bool          `json:"http2_cleartext,omitempty"` // HTTP/2 with prior knowledge, where there is no TLS

	Timeout         time.Duration `json:"timeout"`                // of a request's clock, see protocol.Thread; 0: none
	TotalTimeout    time.Duration `json:"total_timeout"`          // of a request, whatever it waits for; 0: none
	SlowRequest     time.Duration `json:"slow_request,omitempty"` // by the same clock; 0: none is slow
	DisconnectGrace time.Duration `json:"disconnect_grace"`       // of a stream whose client has left, on an event loop; below 0: no limit
	GracefulTimeout time.Duration `json:"graceful_timeout"`
	KeepAlive       time.Duration `json:"keep_alive"` // 0: every response closes its connection
	HeaderTimeout   time.Duration `json:"header_timeout"`
	BodyTimeout     time.Duration `json:"body_timeout"`
	WriteTimeout    time.Duration `json:"write_timeout"`
	MinRate         int64         `json:"min_rate"` // bytes per second, of bodies and responses; 0: any

	LimitRequestLine      int   `json:"limit_request_line"`
	LimitRequestFields    int   `json:"limit_request_fields"`
	LimitRequestFieldSize int   `json:"limit_request_field_size"`
	LimitRequestBody      int64 `json:"limit_request_body"`
	LimitBuffers          int64 `json:"limit_buffers"` // bytes that clients have not taken or not sent to the end; 0: any

	WSPingInterval      time.Duration `json:"ws_ping_interval"`       // of WebSockets; 0: they are not pinged
	WSPingTimeout       time.Duration `json:"ws_ping_timeout"`        // 0: no answer is waited for
	WSMaxSize           int64         `json:"ws_max_size"`            // bytes of a message, inflated
	WSPerMessageDeflate bool          `json:"ws_per_message_deflate"` // messages may be compressed

	SpoolDir      string   `json:"spool_dir,omitempty"`      // for bodies beyond what is held in memory; "": one that suits
	SpoolLimit    int64    `json:"spool_limit"`              // of a body; 0: none is spooled
	StreamUploads []string `json:"stream_uploads,omitempty"` // patterns of paths whose bodies are not gathered

	ForwardedAllowIPs []string `json:"forwarded_allow_ips,omitempty"` // CIDRs; "*": everyone; "unix": unix-socket peers
	ForwardedHeaders  []string `json:"forwarded_headers,omitempty"`   // what of theirs is believed: "for", "proto", "host", "prefix", "forwarded", "cf-connecting-ip"
	// ForwardedUntrusted is what becomes of these fields from anybody else:
	// ForwardedKeep or ForwardedDrop.
	ForwardedUntrusted string   `json:"forwarded_untrusted,omitempty"`
	ProxyProtocol      string   `json:"proxy_protocol,omitempty"`  // "v1", "v2", "auto"; "": off
	ProxyAllowIPs      []string `json:"proxy_allow_ips,omitempty"` // as ForwardedAllowIPs; their connections begin with a header of that protocol

	AccessLog        string           `json:"access_log,omitempty"`     // "-": standard output; "": none; else a file, which the master opens
	AccessLogFormat  string           `json:"access_format,omitempty"`  // see internal/accesslog; "": combined
	AccessLogExclude []string         `json:"access_exclude,omitempty"` // patterns of paths that have no line
	RequestID        bool             `json:"request_id,omitempty"`     // each request has an identifier
	LogLevel         string           `json:"log_level"`                // debug, info, warning or error; see Level
	LogFormat        logformat.Format `json:"log_format,omitempty"`     // in an assignment never Auto; "": Logfmt
	CaptureOutput    bool             `json:"capture_output,omitempty"` // what the application prints is the error log's
	Debug            bool             `json:"debug,omitempty"`          // who gets an error sees the traceback
	AppMetrics       bool             `json:"app_metrics,omitempty"`    // the application's own metrics are the server's, too
	Tracing          *Tracing         `json:"tracing,omitempty"`        // nil: no request is a span
	MetricsPath      string           `json:"metrics_path,omitempty"`   // where requests are answered with these; "": nowhere
	MetricsRoutes    bool             `json:"metrics_routes,omitempty"` // requests are counted by the route that the application's framework has found
	// Development has the code watched: the master reloads when it changes, workers
	// report their modules, and show what is wrong with it.
	Development bool `json:"development,omitempty"`
}

// Values of Worker.Interface and Worker.Lifespan. With auto an application that looks like
// neither is taken for one of WSGI, and one that knows no lifespan is served without.
const (
	InterfaceAuto  = "auto"
	InterfaceWSGI  = "wsgi"
	InterfaceASGI  = "asgi"
	InterfaceASGI2 = "asgi2"

	LifespanAuto = "auto"
	LifespanOn   = "on"
	LifespanOff  = "off"

	LoopAuto   = "auto"
	LoopGevent = "gevent" // of WSGI, in greenlets
)

// What becomes of fields that speak of a client, from somebody who is not trusted.
const (
	ForwardedKeep = "keep" // they stay in environ, and mean nothing to us
	ForwardedDrop = "drop"
)

// Pool lets requests whose path matches Pattern run on at most Threads threads of a
// worker at once. A request belongs to the first pool that matches.
type Pool struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"` // "*" stands for any bytes
	Threads int    `json:"threads"`
}

// ErrorPage is a file for the bodies of answers that are the server's own.
type ErrorPage struct {
	Status int    // 503; a digit stands for a class
	Type   string // by the file's ending
	File   string
}

// Static is a directory whose files workers serve themselves, below a path.
type Static struct {
	Prefix string `json:"prefix"` // "/static"
	Dir    string `json:"dir"`    // absolute
}
