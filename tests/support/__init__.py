"""What several tests share: waiting, capabilities of this machine, images, a real cluster."""
