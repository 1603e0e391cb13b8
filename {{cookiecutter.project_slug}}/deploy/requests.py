"""The requests that change the account, as AWS's API takes them: add a VPC or a KMS key here.

Each function takes the settings and what only the caller knows, and returns the parameters of one
call. A key whose value is None is left out: the API's own default holds.
"""

from __future__ import annotations

from typing import Any

from deploy.configuration import Configuration

Document = dict[str, Any]


def given(document: Document) -> Document:
    """Return the document without the keys, at any depth of objects, whose value is None."""
    return {
        key: given(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if value is not None
    }


def repository(settings: Configuration) -> Document:
    """Return the parameters of ecr:CreateRepository."""
    return {
        "repositoryName": settings.name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "AES256"},
        "tags": settings.tags,
    }


def bucket(name: str, region: str) -> Document:
    """Return the parameters of s3:CreateBucket; us-east-1 must not be named."""
    place = None if region == "us-east-1" else {"LocationConstraint": region}
    return given({"Bucket": name, "CreateBucketConfiguration": place})


def bucket_access(name: str) -> Document:
    """Return the parameters of s3:PutPublicAccessBlock: nothing is public."""
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return {"Bucket": name, "PublicAccessBlockConfiguration": dict.fromkeys(blocks, True)}


def bucket_tags(settings: Configuration, name: str) -> Document:
    """Return the parameters of s3:PutBucketTagging."""
    return {"Bucket": name, "Tagging": {"TagSet": settings.tags}}


def channel(settings: Configuration, name: str, data: str, distribution: str) -> Document:
    """Return one input channel of a training job."""
    source = {"S3DataType": "S3Prefix", "S3Uri": data, "S3DataDistributionType": distribution}
    return {
        "ChannelName": name,
        "ContentType": settings.media_type,
        "DataSource": {"S3DataSource": source},
    }


def training(
    settings: Configuration,
    *,
    image: str,
    role: str,
    bucket: str,
    channels: list[Document],
    metrics: list[Document],
) -> Document:
    """Return what sagemaker:CreateTrainingJob and the jobs of a tuning job have in common."""
    return given(
        {
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": metrics,
            },
            "RoleArn": role,
            "InputDataConfig": channels,
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/output/"},
            "ResourceConfig": {
                "InstanceType": settings.instance_type,
                "InstanceCount": settings.instance_count,
                "VolumeSizeInGB": settings.volume_gb,
            },
            "StoppingCondition": {
                "MaxRuntimeInSeconds": settings.max_seconds,
                "MaxWaitTimeInSeconds": 2 * settings.max_seconds if settings.spot else None,
            },
            "EnableManagedSpotTraining": settings.spot,
            "EnableNetworkIsolation": True,
        }
    )


def tuning(
    settings: Configuration,
    *,
    metric: str,
    direction: str,
    ranges: Document,
    definition: Document,
) -> Document:
    """Return the parameters of sagemaker:CreateHyperParameterTuningJob."""
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": direction, "MetricName": metric},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": settings.tune_jobs,
                "MaxParallelTrainingJobs": settings.tune_parallel,
            },
            "ParameterRanges": ranges,
        },
        "TrainingJobDefinition": definition,
    }


def transform(
    settings: Configuration, *, model: str, data: str, output: str, media_type: str, lines: bool
) -> Document:
    """Return the parameters of sagemaker:CreateTransformJob; `lines` are split and joined again."""
    return {
        "ModelName": model,
        "BatchStrategy": "MultiRecord" if lines else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data}},
            "ContentType": media_type,
            "SplitType": "Line" if lines else "None",
        },
        "TransformOutput": {"S3OutputPath": output, "AssembleWith": "Line"},
        "TransformResources": {
            "InstanceType": settings.instance_type,
            "InstanceCount": settings.instance_count,
        },
    }


def model(settings: Configuration, *, image: str, data: str, role: str) -> Document:
    """Return the parameters of sagemaker:CreateModel. Serverless refuses network isolation."""
    return {
        "PrimaryContainer": {"Image": image, "ModelDataUrl": data},
        "ExecutionRoleArn": role,
        "EnableNetworkIsolation": settings.mode != "serverless",
    }


def endpoint_config(settings: Configuration, *, model: str, bucket: str) -> Document:
    """Return the parameters of sagemaker:CreateEndpointConfig, for the mode of the settings."""
    variant: Document = {"VariantName": "main", "ModelName": model}
    if settings.mode == "serverless":
        limits = {
            "MemorySizeInMB": settings.memory_mb,
            "MaxConcurrency": settings.max_concurrency,
        }
        return {"ProductionVariants": [variant | {"ServerlessConfig": limits}]}
    variant |= {
        "InstanceType": settings.endpoint_instance,
        "InitialInstanceCount": settings.endpoint_count,
        "InitialVariantWeight": 1.0,
    }
    if settings.mode == "async":
        output = {
            "S3OutputPath": f"s3://{bucket}/async/output/",
            "S3FailurePath": f"s3://{bucket}/async/failure/",
        }
        return {
            "ProductionVariants": [variant],
            "AsyncInferenceConfig": {"OutputConfig": output},
        }
    return {
        "ProductionVariants": [variant],
        "DataCaptureConfig": {
            "EnableCapture": settings.capture_percent > 0,
            "InitialSamplingPercentage": settings.capture_percent,
            "DestinationS3Uri": f"s3://{bucket}/capture/",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        },
    }


def blue_green(settings: Configuration) -> Document:
    """Return how an update goes: a new fleet beside the old one, one instance of traffic first."""
    names = [name.strip() for name in settings.rollback_alarms.split(",") if name.strip()]
    several = settings.endpoint_count > 1  # the traffic of one instance cannot be split
    return given(
        {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "CANARY" if several else "ALL_AT_ONCE",
                    "WaitIntervalInSeconds": 120,
                    "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1} if several else None,
                },
                "TerminationWaitInSeconds": 60,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in names]}
            if names
            else None,
        }
    )


def scalable(settings: Configuration) -> Document:
    """Return what names the endpoint's variant in Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{settings.name}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def scaling(settings: Configuration) -> Document:
    """Return the target tracking of the mode: requests or backlog per instance."""
    if settings.mode == "async":
        metric = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": settings.name}],
            "Statistic": "Average",
        }
        return {"TargetValue": 5, "CustomizedMetricSpecification": metric}
    kind = "SageMakerVariantInvocationsPerInstance"
    return {
        "TargetValue": settings.target_invocations,
        "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
    }


def package(
    settings: Configuration, *, image: str, data: str, metadata: Document, evaluation: str
) -> Document:
    """Return the parameters of sagemaker:CreateModelPackage; `evaluation` is an s3:// address."""
    statistics = {"ContentType": "application/json", "S3Uri": evaluation}
    answers = ["text/csv", "application/json", "application/jsonlines"]
    return given(
        {
            "ModelPackageGroupName": settings.name,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [{"Image": image, "ModelDataUrl": data}],
                "SupportedContentTypes": ["text/csv", "text/libsvm", *answers[1:]],
                "SupportedResponseMIMETypes": answers,
                "SupportedRealtimeInferenceInstanceTypes": [settings.endpoint_instance],
                "SupportedTransformInstanceTypes": [settings.instance_type],
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": statistics}} if evaluation else None,
            "CustomerMetadataProperties": metadata,
        }
    )
