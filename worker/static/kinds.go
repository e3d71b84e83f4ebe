package static

import (
	"path"
	"strings"
)

// kind is what the end of a file's name says about it.
type kind struct {
	name  string // media type
	packs bool   // it gets smaller by compressing
}

// kinds has the media types by the ends of names. They do not come from the
// machine's tables, which differ, and of which some are edited.
var kinds = map[string]kind{
	".html": {"text/html; charset=utf-8", true}, ".htm": {"text/html; charset=utf-8", true},
	".css": {"text/css; charset=utf-8", true}, ".txt": {"text/plain; charset=utf-8", true},
	".js": {"text/javascript; charset=utf-8", true}, ".mjs": {"text/javascript; charset=utf-8", true},
	".csv": {"text/csv; charset=utf-8", true}, ".md": {"text/markdown; charset=utf-8", true},
	".ics": {"text/calendar; charset=utf-8", true}, ".vtt": {"text/vtt; charset=utf-8", true},
	".json": {"application/json", true}, ".map": {"application/json", true},
	".webmanifest": {"application/manifest+json", true}, ".geojson": {"application/geo+json", true},
	".xml": {"application/xml", true}, ".rss": {"application/rss+xml", true}, ".atom": {"application/atom+xml", true},
	".xhtml": {"application/xhtml+xml", true}, ".wasm": {"application/wasm", true},
	".svg": {"image/svg+xml", true}, ".ico": {"image/vnd.microsoft.icon", true}, ".bmp": {"image/bmp", true},
	".ttf": {"font/ttf", true}, ".otf": {"font/otf", true}, ".eot": {"application/vnd.ms-fontobject", true},
	".woff": {"font/woff", false}, ".woff2": {"font/woff2", false},
	".png": {"image/png", false}, ".jpg": {"image/jpeg", false}, ".jpeg": {"image/jpeg", false},
	".gif": {"image/gif", false}, ".webp": {"image/webp", false}, ".avif": {"image/avif", false},
	".jxl": {"image/jxl", false}, ".apng": {"image/apng", false}, ".heic": {"image/heic", false},
	".tif": {"image/tiff", true}, ".tiff": {"image/tiff", true},
	".mp3": {"audio/mpeg", false}, ".m4a": {"audio/mp4", false}, ".ogg": {"audio/ogg", false}, ".oga": {"audio/ogg", false},
	".opus": {"audio/ogg", false}, ".flac": {"audio/flac", false}, ".wav": {"audio/wav", true},
	".mp4": {"video/mp4", false}, ".m4v": {"video/mp4", false}, ".webm": {"video/webm", false}, ".mov": {"video/quicktime", false},
	".ogv": {"video/ogg", false}, ".m3u8": {"application/vnd.apple.mpegurl", true}, ".ts": {"video/mp2t", false},
	".pdf": {"application/pdf", false}, ".rtf": {"application/rtf", true}, ".epub": {"application/epub+zip", false},
	".doc": {"application/msword", true}, ".xls": {"application/vnd.ms-excel", true}, ".ppt": {"application/vnd.ms-powerpoint", true},
	".docx": {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", false},
	".xlsx": {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", false},
	".pptx": {"application/vnd.openxmlformats-officedocument.presentationml.presentation", false},
	".odt":  {"application/vnd.oasis.opendocument.text", false},
	".zip":  {"application/zip", false}, ".gz": {"application/gzip", false}, ".tgz": {"application/gzip", false},
	".bz2": {"application/x-bzip2", false}, ".xz": {"application/x-xz", false}, ".7z": {"application/x-7z-compressed", false},
	".zst": {"application/zstd", false}, ".br": {"application/octet-stream", false}, ".tar": {"application/x-tar", true},
}

// kindOf returns the kind of a file. What is unknown is to be saved, not shown.
func kindOf(name string) kind {
	if k, ok := kinds[strings.ToLower(path.Ext(name))]; ok {
		return k
	}
	return kind{"application/octet-stream", true}
}
