// Package deploy tests that the files in this folder are what their real tools
// take.
package deploy

//go:generate go run ./internal/gendashboard grafana/hostler.json
