"""Settings of the S3 bucket that files are sent to.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, SecretStr

from worker.settings.field import setting


class BucketSettings(BaseModel):
    """The bucket, its keys, and its URLs."""

    bucket_endpoint_url: str | None = setting(
        None,
        "an address such as https://my-bucket.s3.eu-west-1.amazonaws.com",
        "Send files to this S3 bucket instead of into the answer.",
    )
    bucket_access_key_id: SecretStr | None = setting(None, "an access key id", "Key id for the bucket.")
    bucket_secret_access_key: SecretStr | None = setting(None, "a secret access key", "Secret key for the bucket.")
    bucket_name: str | None = setting(
        None, "a bucket's name", "The bucket, where `BUCKET_ENDPOINT_URL` does not name it."
    )
    bucket_region: str | None = setting(
        None, "a region's name", "The bucket's region, also where `BUCKET_ENDPOINT_URL` names another."
    )
    bucket_addressing: Literal["auto", "virtual", "path"] = setting(
        "auto",
        "auto, virtual or path",
        "Where URLs name the bucket: in the host (`virtual`), in the path, or as the service needs it (`auto`).",
    )
    bucket_prefix: str | None = setting(None, "a folder in the bucket", "Files go below this folder.")
    bucket_url_expiry_s: int = setting(
        604_800,
        "a whole number from 1 to 604800",
        "How long the presigned URLs are valid, in seconds.",
        ge=1,
        le=604_800,
    )
    bucket_uploader: Literal["worker", "runpod"] = setting(
        "worker",
        "worker or runpod",
        "`runpod` uploads with the `rp_upload.upload_image` of RunPod's SDK, into the folders that it makes up.",
    )
