# Azure's CUDA base image with what `python -m train` needs.
FROM mcr.microsoft.com/azureml/openmpi5.0-cuda12.6-ubuntu24.04:20260621.v1

RUN pip install --no-cache-dir \
    torch==2.8.0 torchvision==0.23.0 \
    hydra-core==1.3.2 omegaconf==2.3.0 \
    numpy==2.2.6 pillow==11.3.0 scikit-learn==1.7.1 filelock==3.19.1 matplotlib==3.10.5 \
    onnx==1.18.0 onnxscript==0.4.0 onnxruntime==1.22.1 \
    azureml-core==1.61.0.post4 azureml-mlflow==1.62.0
