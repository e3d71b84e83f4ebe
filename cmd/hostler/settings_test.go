package main

import (
	"fmt"
	"reflect"
	"testing"

	"hostler/config"
	"hostler/master"
	"hostler/settings"
)

// notPassedOn are the settings that the master is not to know, and why.
var notPassedOn = map[string]string{
	"WorkersAuto":  "for the log only",
	"Behind":       "has become the defaults of others",
	"AdminHosts":   "read as they are, see keepLive and TestAdminSettings",
	"AdminQueries": "likewise",
	"ConfigFile":   "has been read",
	"Check":        "another command",
	"Warnings":     "for the log only",
}

// TestEverySettingArrives changes one setting after the other: the master's
// settings must be others each time.
func TestEverySettingArrives(t *testing.T) {
	// Some count only where there are others; two certificates, so that a second
	// key may follow.
	base := func() *config.Config {
		return &config.Config{Certs: []string{"a", "b"}, Keys: []string{"a"}, ClientCAs: "ca", ClientCerts: "optional"}
	}
	plain := masterSettings(base())
	for i, field := range fields(config.Config{}) {
		if notPassedOn[field.Name] != "" {
			continue
		}
		c := base()
		change(t, reflect.ValueOf(c).Elem().FieldByIndex(field.Index), i)
		if reflect.DeepEqual(masterSettings(c), plain) {
			t.Errorf("%s goes nowhere", field.Name)
		}
	}
}

// filledLater are the fields of a worker's settings that the master fills in, see
// (*master.Settings).workerConfig.
var filledLater = map[string]bool{
	"App": true, "Chdir": true, "Hooks": true, "Threads": true, "Timeout": true, "TotalTimeout": true,
	"GracefulTimeout": true, "AccessLog": true, "Development": true,
}

// TestEverySettingIsSet sets all settings: none of the master's may still be zero.
func TestEverySettingIsSet(t *testing.T) {
	c := new(config.Config)
	for i, field := range fields(*c) {
		change(t, reflect.ValueOf(c).Elem().FieldByIndex(field.Index), i)
	}
	s := masterSettings(c)
	for _, field := range fields(master.Settings{}) {
		if reflect.ValueOf(s).Elem().FieldByIndex(field.Index).IsZero() && field.Name != "BindsGiven" { // which is not a field's value
			t.Errorf("master.Settings.%s: nothing sets it", field.Name)
		}
	}
	for _, field := range fields(settings.Worker{}) {
		if reflect.ValueOf(s.Worker).FieldByIndex(field.Index).IsZero() && !filledLater[field.Name] {
			t.Errorf("settings.Worker.%s: nothing sets it", field.Name)
		}
	}
}

func fields(v any) (exported []reflect.StructField) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if f.IsExported() {
			exported = append(exported, f)
		}
	}
	return exported
}

// change makes v another value, which depends on n.
func change(t *testing.T, v reflect.Value, n int) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(n) + 1)
	case reflect.Uint16:
		v.SetUint(v.Uint() + uint64(n) + 1)
	case reflect.String:
		v.SetString(fmt.Sprintf("%sother%d", v.String(), n))
	case reflect.Slice:
		item := reflect.New(v.Type().Elem()).Elem()
		change(t, item, n)
		v.Set(reflect.Append(v, item))
	case reflect.Struct:
		for i := range v.NumField() {
			change(t, v.Field(i), n)
		}
	default:
		t.Fatalf("settings of the kind %s are new to this test", v.Kind())
	}
}

// TestAdminSettings: the admin server follows its settings from one reload to the next.
func TestAdminSettings(t *testing.T) {
	o := serveOptions{config: &config.Config{}, reload: func() (*config.Config, error) {
		return &config.Config{AdminHosts: []string{"node7"}, AdminQueries: true}, nil
	}}
	live := o.keepLive()
	if c := live.Load(); len(c.AdminHosts) != 0 || c.AdminQueries {
		t.Errorf("before: %+v", c)
	}
	if _, err := o.reload(); err != nil {
		t.Fatal(err)
	}
	if c := live.Load(); len(c.AdminHosts) != 1 || !c.AdminQueries {
		t.Errorf("after a reload: %+v", c)
	}
}
