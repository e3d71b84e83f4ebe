package kubetest

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// TestCompose: Compose's own loader takes the file, which checks it against its schema; what is
// mounted is there, and Grafana finds what is mounted.
func TestCompose(t *testing.T) {
	const file = "../../compose/compose.yaml"
	load := func(text string) (*types.Project, error) {
		return loader.LoadWithContext(context.Background(), types.ConfigDetails{
			WorkingDir: "../../compose", ConfigFiles: []types.ConfigFile{{Filename: file, Content: []byte(text)}},
		})
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	project, err := load(string(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][2]string{{"read_only: true\n", "readonly: true\n"}, {"cap_drop: [ALL]", "cap_drop: ALL"}, {"source: series", "source: serie"}} {
		if _, err := load(strings.Replace(string(b), wrong[0], wrong[1], 1)); err == nil {
			t.Errorf("it is taken with %s", wrong[1])
		}
	}
	mounted := make(map[string][]byte) // in Grafana
	for name, service := range project.Services {
		for _, v := range service.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			content, err := os.ReadFile(v.Source)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if name == "grafana" {
				mounted[v.Target] = content
			}
		}
	}
	app := project.Services["app"]
	if !app.ReadOnly || !slices.Equal(app.CapDrop, []string{"ALL"}) || !slices.Contains(app.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("the application may do more than it should: %+v", app)
	}
	if at := slices.Index(app.Command, "--graceful-timeout"); at < 0 {
		t.Error("it is not said how long a stop takes")
	} else if patience, err := time.ParseDuration(app.Command[at+1] + "s"); err != nil || time.Duration(*app.StopGracePeriod) <= patience {
		t.Errorf("a stop may take %v, and the application is killed after %v", patience, *app.StopGracePeriod)
	}
	takes(t, "compose.yaml", app.Command)

	var dashboards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	var sources struct{ Datasources []struct{ Type, URL string } }
	for target, into := range map[string]any{"/etc/grafana/provisioning/dashboards/hostler.yml": &dashboards, "/etc/grafana/provisioning/datasources/hostler.yml": &sources} {
		if err := yaml.Unmarshal(mounted[target], into); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
	if len(dashboards.Providers) != 1 || mounted[dashboards.Providers[0].Options.Path+"/hostler.json"] == nil {
		t.Errorf("the dashboard is not where Grafana looks: %+v", dashboards)
	}
	if len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" || sources.Datasources[0].URL != "http://prometheus:9090" || project.Services["prometheus"].Image == "" {
		t.Errorf("Grafana's source is %+v", sources)
	}
}
