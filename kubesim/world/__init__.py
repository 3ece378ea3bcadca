"""What lives in a simulated cluster: its company, its controllers, its kubelets, and what goes wrong."""
