// Helm, for the tests and tests/e2e.
package main

import (
	"errors"
	"fmt"
	"os"

	"controlplane/parts"

	helm "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
)

func main() {
	parts.Run(map[string]func() int{"helm": runHelm})
}

func runHelm() int {
	helmkube.ManagedFieldsManager = "helm"
	root, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	if err := root.Execute(); err != nil {
		var coded helm.CommandError
		if errors.As(err, &coded) {
			return coded.ExitCode
		}
		return 1
	}
	return 0
}
