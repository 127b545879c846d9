// Package component runs the components of Kubernetes as their own main packages do.
package component

import (
	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"

	// What the projects' own main packages link in for its side effects: JSON logs and the client metrics.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// Of makes a part of a component's command.
func Of(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}
