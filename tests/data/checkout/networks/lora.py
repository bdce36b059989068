def create_network(multiplier, network_dim, network_alpha, vae, text_encoder, unet, **kwargs):
    conv_dim = kwargs.get("conv_dim", None)
    if conv_dim is not None:
        conv_dim = int(conv_dim)
    gentle = kwargs.get("gentle", "false")
    gentle = True if gentle.lower() == "true" else False
    parse_block_lr_kwargs(kwargs)


def parse_block_lr_kwargs(nw_kwargs):
    return float(nw_kwargs.get("block_lr_zero_threshold", 0.0))
