// kubectl. A program of its own, since tests start it a thousand times and each start runs what all packages of a program
// do first, which takes more than twice as long with those of the control plane.
package main

import (
	"controlplane/parts"

	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	parts.Run(map[string]func() int{"kubectl": runKubectl})
}

func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints the error and exits with its code
	}
	return 0
}
