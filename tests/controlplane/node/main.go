// The parts of a cluster that only a node needs, in one program: for tests/e2e.
package main

import (
	"context"

	"controlplane/component"
	"controlplane/parts"

	"github.com/spf13/cobra"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	parts.Run(map[string]func() int{
		"kube-scheduler": component.Of(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kube-proxy":     component.Of(proxy.NewProxyCommand),
		"kubelet":        component.Of(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	})
}
