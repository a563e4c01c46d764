"""Run as a program: an exported model, an image and a box in, a pose out, where torch cannot be imported."""

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Missing(MetaPathFinder):
    """Packages that are as good as not installed."""

    names = ("torch", "transformers")

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


if __name__ == "__main__":
    sys.meta_path.insert(0, Missing())
    import numpy as np

    from uop3d_core.pose.estimator import PoseEstimator
    from uop3d_core.types import Camera, Detection, Frame

    model, query = Path(sys.argv[1]), np.load(sys.argv[2])
    image = query["image"]
    camera = Camera(query["K"], image.shape[1], image.shape[0])
    [estimate] = PoseEstimator.load(model)(Frame("query", camera, image), [Detection(query["box"])])
    print(json.dumps({"cam_T_obj": estimate.cam_T_obj.tolist(), "torch": "torch" in sys.modules}))
