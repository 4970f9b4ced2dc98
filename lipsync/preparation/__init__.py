"""From raw video to a corpus: faces, tracks, clips, manifest."""
